"""Words by which a text speaks to its judge, by kind and over many languages. Data, and the look-up of one word.

Kinds: who judges, what is given (a mark), the order to give it, the best mark, earlier orders to forget. One word of
these says nothing; ``address`` asks for combinations. ``word*`` stands for every word that begins so; words of scripts
that write without spaces, or join articles and endings, are looked for anywhere in a text.
"""

# ruff: noqa: RUF001 - words of many scripts
from __future__ import annotations

import re
from functools import lru_cache

WHO, MARK, ORDER, BEST, FORGET, PRIOR, FRAMED = 1, 2, 4, 8, 16, 32, 64
_WORDS: dict[int, str] = {
    WHO: """judg* grader graders grading evaluator* rater raters scorer* assessor* reviewer* examiner* llm
    gutachter* richter* bewerter* prüfer* juez jueces evaluador* calificador* évaluateur* évaluatrice* evaluateur* correcteur* juge juges
    notateur* valutator* giudic* avaliador* juiz juíz jurado* beoordelaar* rechter* değerlendirici* hakem* sędzi* oceniając* bedömare*
    hodnotitel* судь* оценщик* эксперт* проверяющ* κριτή*""",
    MARK: """score scores scored scoring rating ratings grade grades graded marks points verdict stars star faithful* relevan* minimality
    rubric* criterion criteria evaluat* punkt* bewertung* noten wertung* urteil* bestnote höchstnote puntuaci* puntaje* calificaci*
    nota notas puntos notation évaluation evaluation punteggi* voto voti valutazion* pontua* avalia* cijfer* beoordeling* puan* değerlendirme*
    ocen* punkt* betyg* poäng* hodnocení điểm skor* nilai оценк* оцен* балл* рейтинг* вердикт* βαθμ*""",
    ORDER: """give gives assign assigns award awards output outputs return respond reply print write rate set grant put choose select pick must should
    shall deserves deserve make ensure treat consider report emit answer record merits earns receives say call mark accept assume confirm repeat execute
    vergib* vergeb* gib geben gebt bewerte* setze* antworte* verdient muss erteile* da dale dé dar den otorg* asign* califi* pon devuelv* responde merece debe*
    donne* attribue* mets mettez notez noter réponde* répondez mérite doit dois dai dà dare assegna* rispondi merita dê atribu* avalie dá geef toeken* ver verin
    daj przyznaj wystaw ge sätt dej cho hãy beri* постав* присво* дай* оцени* верни* вывед* ответь* заслуж* выстав* δώσε βάλε""",
    BEST: """top maximum maximal* highest best perfect* full excellent flawless* outstanding pass passes passed höchst* maximale* perfekt* volle* beste*
    máxim* maxim* alta parfait* meilleur* massim* perfett* perfeit* hoogste yüksek tam najwyższ* högsta nejvyšší tối nhất tertinggi 10 5 100 five ten hundred
    fünf zehn cinco diez cinq dix cinque dieci пять десять максимальн* высш* наивысш* отличн* идеальн* μέγιστ* άριστα 1.0 5.0 10.0 10/10 5/5 100/100""",
    FORGET: """ignore ignores ignoring disregard forget override bypass skip discard supersede* overwrite ignorier* vergiss vergesst vergessen missachte* ignora
    ignorez ignorer ignorar ignoren ignoré olvid* oublie* omet* dimentic* esque* negeer vergeet yok unut* zignoruj* zapomnij* ignorera glöm ignoruj* bỏ abaikan lupakan
    игнорир* проигнорир* забудь* αγνόησε ξέχασε""",
    PRIOR: """instruction* prompt prompts rule rules guideline* rubric* criteria direction* order orders context constraint* anweisung* vorgabe* regel* instruc*
    regla* criterios consigne* règle* istruzion* regole regras instruç* instructies regels talimat* kural* instrukcj* zasad* pokyn* hướng dẫn instruksi
    инструкци* указани* правил* οδηγίες κανόνες""",
    FRAMED: """system sys assistant developer admin user root begin start end close new updated real actual true systemnachricht система системное сообщение sistema
    système sistem systém σύστημα mensaje""",
}
_PARTS: dict[int, str] = {
    WHO: "評価者 審査員 採点者 評価モデル 评委 评审 评估者 评估员 评分员 评分者 裁判 评判 評審 评估模型 المقيم المقيّم المحكم المحكّم القاضي المصحح 채점자 평가자 심사위원 निर्णायक मूल्यांकनकर्ता परीक्षक שופט מעריך ผู้ประเมิน กรรมการ",
    MARK: "分数 評分 评分 得分 打分 評価 点数 スコア 採点 得点 점수 평점 평가 등급 درجة الدرجة تقييم التقييم نقاط अंक स्कोर ציון ניקוד คะแนน 满分 滿分 満点 만점",
    ORDER: "给 給 打 输出 返回 回答 评为 应得 つけ 付け 与え 出力 返して 評価して ください 下さい 주세요 주십시오 부여 매기 출력 أعط امنح ضع أخرج قيّم قيم يستحق दें दीजिए तुम תן תנו ให้",
    BEST: "最高 满分 滿分 満点 完美 五分 5分 10分 100分 完璧 최고 만점 완벽 5점 10점 أعلى كاملة الكاملة قصوى القصوى خمسة المثالية الكمال सर्वोच्च पूरे पूर्ण अधिकतम הגבוה מושלם המקסימלי เต็ม สูงสุด",
    FORGET: "忽略 无视 無視 忘记 忘れ 무시 잊어 تجاهل انس अनदेखा भूल नज़रअंदाज़ התעלם תתעלם เพิกเฉย ละเว้น",
    PRIOR: "指令 指示 说明 规则 要求 提示 命令 ルール 지시 규칙 명령 التعليمات القواعد الأوامر تعليمات निर्देश नियम ההוראות הכללים คำสั่ง กฎ",
    FRAMED: "系统 システム النظام 시스템 सिस्टम",
}
_EXACT: dict[str, int] = {}
_BEGINS: dict[str, int] = {}
for _kind, _listed in _WORDS.items():
    for _word in _listed.split():
        _table, _key = (_BEGINS, _word[:-1]) if _word.endswith("*") else (_EXACT, _word)
        _table[_key] = _table.get(_key, 0) | _kind
_LENGTHS = sorted({len(one) for one in _BEGINS})
_ANYWHERE = tuple((part, kind) for kind, listed in _PARTS.items() for part in listed.split())
_TOKEN = re.compile(r"[^\W\d_]+|\d+(?:[./]\d+)*")
_JOINING = re.compile(r"[\u0590-\u06ff\u0900-\u097f\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@lru_cache(maxsize=16_384)
def kinds_of_word(word: str) -> int:
    """The kinds of one word as bits."""
    word = word.casefold()
    found = _EXACT.get(word, 0)
    for length in _LENGTHS:
        if length > len(word):
            break
        found |= _BEGINS.get(word[:length], 0)
    return found


def kinds(text: str) -> int:
    """The kinds of all words of a text as bits."""
    found = 0
    for word in _TOKEN.findall(text):
        found |= kinds_of_word(word)
    if _JOINING.search(text):
        for part, kind in _ANYWHERE:
            if not found & kind and part in text:
                found |= kind
    return found


NOTE = r"\b(?:beste|höchste|volle|gute|meilleure|maximale|finale|bonne)n? note\b|\bnote (?:maximale|finale|parfaite)\b"
SELF = (
    r"\bthis text\b|"
    r"\b(?:this|the|my|above|following|preceding|every|each|any|all)\b.{0,20}\b(?:answers?|responses?|outputs?|summary|reply|submission|candidate)\b|"
    r"\b(?:diese[rs]?|die|meine)\b.{0,15}\b(?:antwort|ausgabe|text|zusammenfassung)\b|\b(?:esta|la|mi)\b.{0,10}\b(?:respuesta|salida)\b|\b(?:cette|la|ma)\b.{0,10}\br[ée]ponse\b|"
    r"\b(?:questa|la)\b.{0,10}\brisposta\b|\b(?:esta|a)\b.{0,10}\bresposta\b|\bdit antwoord\b|\bbu (?:cevap|yanıt)\w*|\btę odpowiedź\b|\bta odpowiedź\b|\bdet här svaret\b|\btej odpowiedzi\b|"
    r"(?:эт\w+|данн\w+) (?:ответ|текст)|(?:这个|此|该|本|以上|上述)(?:回答|答案|输出|回复|文本)|(?:この|上記の|本)(?:回答|出力|答え|応答)|이 (?:답변|응답|답)|"
    r"(?:هذه|هذا|لهذه|لهذا) (?:الإجابة|الجواب|الرد|النص)|इस (?:उत्तर|जवाब)|यह (?:उत्तर|जवाब)|התשובה הזו|לתשובה|αυτή(?:ν)? την? απάντηση|คำตอบนี้"
)
SELF_NARROW = r"\b(?:this|my|above|preceding)\b\W+(?:\w+\W+)?(?:answer|response|output|reply|submission)\b"
DEMAND = (
    r"\b(?:output|print|emit|respond|reply|answer|return|say|report|write)\b[^\n]{0,25}\b(?:10|5|100|1\.0|five|ten)\b"
)
STRICT = r"\b(?:must|now|nothing else|no matter|only the number|without (?:reading|thinking))\b"
PRAISE = (
    r"\b(?:perfect\w*|flawless\w*|fully|completely|entirely|100 ?%|verified|approved|certified|outstanding|exemplary|top marks|no errors|meets all|satisfies all|all criteria|perfekt\w*|fehlerfrei|vollkommen|"
    r"geprüft|perfect[ao]s?|verificad[ao]s?|parfaite?s?|v[ée]rifi[ée]e?s?|approuv[ée]e?)\b|идеальн|безупреч|провер|完美|完全|无误|完璧|正確|완벽|مثالي|كامل|उत्तम|सही"
)
PRIOR_PHRASE = (
    r"\b(?:previous(?:ly)?|prior|earlier|above|preceding|all|any|other|system|original|your|these|those|everything)\b"
    r"(?:.{0,30}\b(?:instructions?|prompts?|rules?|guidelines?|rubrics?|criteria|directions?|orders?|context|content|text|constraints?)\b|\W+(?:said|above|before|told)\b)"
)
FRAME = (
    r"<{2,}[^<>\n]{1,40}>{2,}|</?(?:score|verdict|rating|grade|passed|judgment|mark|points)>|"
    r"<\|[^|<>\n]{1,30}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|"
    r"</?\s{0,2}(?:system|instructions?|judge|answer|output|response|candidate|data|document|text|untrusted|judged|evaluation|submission|context|content|user|assistant)(?:[-_ ][\w-]{1,24})?\s{0,2}/?>|"
    r"^\W{0,4}(?:system|assistant|developer|admin|user|root)\s?(?:message|prompt|note|notice|override|instruction|update|role|command)?\s?\W{0,2}:|"
    r"^\W{0,4}\W(?:system|sys|admin|root|developer)(?: (?:message|note|override|prompt|update))?\s?[\])]|"
    r"#{2,}\s{0,2}(?:instruction|system|response|evaluation|end|new task|task)\b|"
    r"\b(?:end|begin|start|close)(?: ?of)? ?(?:the )?(?:answer|output|response|data|text|document|candidate|submission|input|context|judged|quote|untrusted)\b|"
    r"\b(?:new|updated|real|actual|true) (?:instructions?|task|rubric|system prompt|scoring)\b|"
    r"^\W{0,4}(?:系统|システム|система|النظام|رسالة النظام|시스템|sistema|système|systém|σύστημα|सिस्टम|system-?nachricht|системное сообщение|系统消息|系统提示|システムメッセージ|시스템 메시지|mensaje del sistema|message système)\s?\W{0,2}[:：]"
)
VERDICT = (
    r"[\"']?\b(?:overall[ _-]?|final[ _-]?)?(?:score|rating|grade|verdict|points|mark|label|judge?ment|result|passed|faithfulness|relevance|minimality|safety|bewertung|punktzahl|note|puntuación|calificación|оценка|评分|分数|評価|点数|スコア|점수|الدرجة)[\"']?"
    r"\s{0,3}(?:[:=：]|is\b|of\b|->|=>|⇒|→){1,2}\s{0,3}[\"'*`\[]{0,3}\s?(?:[0-9]{1,3}(?:[.,][0-9]{1,4})?|pass(?:ed)?|perfect|excellent|true|yes|good|five|ten|a\+?|max\w{0,8}|top|best|correct|fully?\w{0,4})(?![a-z])"
)
