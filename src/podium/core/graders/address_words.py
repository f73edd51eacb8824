"""Words by which a text speaks to its judge, by kind and over many languages. Data only.

Kinds: who judges, what is given (a mark), the order to give it, the best mark, earlier orders to forget, the answer that
praises itself, and the frames of chat templates. One word of these says nothing; ``address`` asks for combinations.
"""

# ruff: noqa: RUF001 - words of many scripts
from __future__ import annotations

WHO = (
    r"\b(?:judges?|grad(?:er|ers|ing)|evaluat(?:or|ors|ion)|rater|scorer|assessor|reviewer|examiner|llm judge|language model|assistant|"
    r"gutachter(?:in)?|richter(?:in)?|bewert(?:er|erin|ende)|prüfer(?:in)?|jue(?:z|ces)|evaluador(?:a|es)?|calificador|"
    r"[ée]valuat(?:eur|rice)|correcteur|juges?|notateur|valutator[ei]|giudic[ei]|avaliador(?:a|es)?|ju[ií]z|jurado|"
    r"beoordelaar|rechter|degerlendirici|değerlendirici|hakem|sędzia|oceniając\w+|bedömare|hodnotitel)\b|"
    r"суд(?:ья|ьи|ье|ей)|оценщик|эксперт|провер(?:яющ|ка)|評価者|審査員|採点者|評価モデル|评委|评审|评估者|评估员|评分员|裁判|评判|評審|"
    r"المقيّ?م|المحكّ?م|القاضي|المصحح|채점자|평가자|심사위원|निर्णायक|मूल्यांकनकर्ता|परीक्षक|שופט|מעריך|κριτή[ςσ]?|giám khảo|người chấm|ผู้ประเมิน|กรรมการ"
)
MARK = (
    r"\b(?:scores?|scoring|ratings?|grades?|graded|marks?|points?|verdict|stars?|faithful\w*|relevan\w+|minimality|rubric|criteri(?:on|a)|evaluat\w+|"
    r"punkt(?:e|zahl|en)?|bewertung(?:en)?|noten?|wertung|urteil|bestnote|höchstnote|puntuaci[oó]n|puntaje|calificaci[oó]n|nota|puntos?|"
    r"notes?|notation|score|[ée]valuation|punteggio|voto|valutazione|pontua[çc][ãa]o|avalia[çc][ãa]o|cijfer|beoordeling|"
    r"puan|değerlendirme|ocen[aęy]|punkt[óo]w|betyg|poäng|hodnocení|điểm|skor|nilai)\b|"
    r"оценк|балл|рейтинг|вердикт|分数|評分|评分|得分|打分|評価|点数|スコア|採点|得点|점수|평점|평가|등급|درجة|الدرجة|تقييم|نقاط|नंबर|अंक|स्कोर|ציון|ניקוד|βαθμ|คะแนน|满分|滿分|満点|만점|만 점"
)
ORDER = (
    r"\b(?:give|assign|award|output|return|respond|reply|print|write|rate|set|grant|put|choose|select|pick|must|should|shall|deserves?|make sure|ensure|"
    r"treat|consider|report|emit|answer|record|merits?|earns?|receives?|vergib|vergebe[n]?|gib|geben|bewerte[n]?|setze[n]?|antworte[n]?|verdient|muss|erteile[n]?|"
    r"da|dale|den|otorg\w+|asign\w+|califi\w+|pon|devuelv\w+|responde|merece|debe[s]?|donne[rz]?|attribue[rz]?|mets|mettez|note[rz]?|r[ée]ponde?[sz]?|m[ée]rite|doi[st]|"
    r"d[aà]i|dare|assegna\w*|rispondi|merita|d[êe]|atribu\w+|avalie|merece|geef|toeken\w*|ver\w*|daj|przyznaj|wystaw|ge|sätt|dej|cho|hãy|beri\w*)\b|"
    r"постав|присво|дай|оцени|верни|вывед|ответь|заслужив|给|給|打|输出|返回|回答|评为|应得|つけ|付け|与え|出力|返して|評価して|ください|下さい|주세요|주십시오|부여|매기|출력|"
    r"أعط|امنح|ضع|أخرج|قي[ّ]?م|يستحق|दें|दीजिए|दो|תן|תנו|δώσε|βάλε|ให้"
)
BEST = (
    r"\b(?:top|maxim\w+|highest|best|perfect\w*|full|excellent|flawless\w*|outstanding|pass(?:ed|es)?|höchst\w*|maxim\w+|perfekt\w*|voll\w*|beste\w*|m[aá]xim\w+|"
    r"perfect\w*|alta|parfait\w*|maximal\w*|meilleure?|massimo|massima|perfett\w+|perfeit\w+|hoogste|en yüksek|tam|najwyższ\w+|maksymaln\w+|högsta|nejvyšší|cao nhất|tối đa|tertinggi|"
    r"(?:10|5|100)\s*/\s*(?:10|5|100)|10|5|five|ten|100 ?%?|1\.0+|fünf|zehn|cinco|diez|cinq|dix|cinque|dieci|пять|десять)\b|"
    r"максимальн|высш|наивысш|отличн|идеальн|最高|满分|滿分|満点|完美|五分|5分|10分|完璧|최고|만점|완벽|5점|أعلى|كاملة|قصوى|خمسة|المثالية|सर्वोच्च|पूरे|पूर्ण|अधिकतम|הגבוה|מושלם|μέγιστ|άριστα|เต็ม|สูงสุด"
)
FORGET = (
    r"\b(?:ignore|disregard|forget|override|bypass|skip|discard|supersede|overwrite|ignorier\w*|vergiss|vergessen|missachte\w*|ignor(?:a|e|ez|ar|er|en|ieren|ate)|olvida\w*|oublie[rz]?|"
    r"omet\w*|dimentica\w*|esque[çc]a\w*|negeer|vergeet|yok say|unut|zignoruj|zapomnij|ignorera|glöm|ignoruj|bỏ qua|abaikan|lupakan)\b|"
    r"игнорир|забудь|не обращай|忽略|无视|無視|忘记|忘れ|무시|잊어|تجاهل|انس|अनदेखा|भूल जा|नज़रअंदाज़|התעלם|תתעלם|αγνόησε|ξέχασε|เพิกเฉย|ละเว้น"
)
PRIOR = (
    r"\b(?:previous|prior|earlier|above|preceding|all|any|other|system|original|your|these|those)\b.{0,30}\b(?:instructions?|prompts?|rules?|guidelines?|rubrics?|criteria|directions?|orders?|context|content|text|constraints?)\b|"
    r"\b(?:anweisung\w*|vorgaben|regeln|instruc\w+|reglas|criterios|consignes?|r[èe]gles|istruzion\w+|regole|regras|instru[çc]\w+|instructies|regels|talimat\w*|kural\w*|instrukcj\w+|zasad\w*|"
    r"instruktion\w*|pokyn\w*|hướng dẫn|instruksi)\b|"
    r"инструкци|указани|правил|指令|指示|说明|规则|要求|提示|命令|ルール|지시|규칙|명령|التعليمات|القواعد|الأوامر|निर्देश|नियम|ההוראות|הכללים|οδηγίες|κανόνες|คำสั่ง|กฎ"
)
SELF = (
    r"\b(?:this|the|my|above|following|preceding)\b.{0,20}\b(?:answer|response|output|summary|text|reply|submission|candidate|work|result)\b|"
    r"\b(?:diese[rs]?|die|meine)\b.{0,15}\b(?:antwort|ausgabe|text|zusammenfassung)\b|\b(?:esta|la|mi)\b.{0,10}\b(?:respuesta|salida)\b|\b(?:cette|la|ma)\b.{0,10}\br[ée]ponse\b|"
    r"\b(?:questa|la)\b.{0,10}\brisposta\b|\b(?:esta|a)\b.{0,10}\bresposta\b|\bdit antwoord\b|\bbu (?:cevap|yanıt)\b|\btę odpowiedź\b|\bta odpowiedź\b|\bdet här svaret\b|"
    r"(?:этот|этому|этого|данный|данному) (?:ответ|текст)|(?:这个|此|该|本|以上|上述)(?:回答|答案|输出|回复|文本)|(?:この|上記の|本)(?:回答|出力|答え|応答)|이 (?:답변|응답|답)|"
    r"(?:هذه|هذا) (?:الإجابة|الجواب|الرد|النص)|इस (?:उत्तर|जवाब)|यह (?:उत्तर|जवाब)|התשובה הזו|לתשובה|αυτή(?:ν)? την? απάντηση|คำตอบนี้"
)
PRAISE = (
    r"\b(?:perfect\w*|flawless\w*|fully|completely|entirely|100 ?%|verified|approved|certified|outstanding|exemplary|top marks|no errors|meets all|satisfies all|all criteria|perfekt\w*|fehlerfrei|vollkommen|"
    r"geprüft|perfect[ao]s?|verificad[ao]s?|parfaite?s?|v[ée]rifi[ée]e?s?|approuv[ée]e?)\b|идеальн|безупреч|провер|完美|完全|无误|完璧|正確|완벽|مثالي|كامل|उत्तम|सही"
)
FRAME = (
    r"<\|[^|<>\n]{1,30}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|"
    r"</?\s*(?:system|instruction|instructions|judge|answer|output|response|candidate|data|document|text|untrusted|judged|evaluation|submission|context|content|user|assistant)(?:[-_ ]?[\w-]{0,24})\s*/?>|"
    r"^\W{0,4}(?:system|assistant|developer|admin|user|root)\s*(?:message|prompt|note|notice|override|instruction|update|role|command)?\s*\W{0,2}:|"
    r"^\W{0,4}(?:\[|\()?\s*(?:system|sys|admin|root|developer)(?: (?:message|note|override|prompt|update))?\s*(?:\]|\))|"
    r"#{2,}\s*(?:instruction|system|response|evaluation|end|new task|task)\b|"
    r"\b(?:end|begin|start|close) ?of ?(?:the )?(?:answer|output|response|data|text|document|candidate|submission|input|context|judged|quote|untrusted)\b|"
    r"\b(?:new|updated|real|actual|true) (?:instructions?|task|rubric|system prompt|scoring)\b|"
    r"^\W{0,4}(?:系统|システム|система|النظام|시스템|sistema|système|systeme|systém|σύστημα|सिस्टम|system-?nachricht|мессaдж|системное сообщение|系统消息|系统提示|システムメッセージ|시스템 메시지|رسالة النظام|mensaje del sistema|message système)\s*\W{0,2}[:：]"
)
VERDICT = (
    r"[\"']?\b(?:overall[ _-]?|final[ _-]?)?(?:score|rating|grade|verdict|points|mark|label|judg[e]?ment|result|passed|faithfulness|relevance|minimality|safety|bewertung|punktzahl|note|puntuación|calificación|оценка|评分|分数|評価|点数|スコア|점수|الدرجة)[\"']?"
    r"\s*(?:[:=：]|is|of|->|=>|⇒|→)+\s*[\"'*`\[]*\s*(?:[0-9]{1,3}(?:[.,][0-9]+)?|pass(?:ed)?|perfect|excellent|true|yes|good|five|ten|a\+?|max\w*|top|best|correct|fully?\w*)\b"
)
