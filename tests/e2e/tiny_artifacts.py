"""Makes one tiny model in every form: a Llama with random weights and a tokenizer trained here, and an encoder.

Run by the interpreter of the artifacts' environment (``make artifacts``), which needs neither Podium nor pytest:
``python tiny_artifacts.py FOLDER``. Besides the models it writes what the tests compare with: the answers a plain loop
over the whole model gives, without cache, sampler or worker.
"""

from __future__ import annotations

import json
import os
import pickle
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from mlx_lm import convert
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CORPUS = [string.printable, "the quick brown fox jumps over the lazy dog", "hello world, how are you today?"] * 20
SPECIAL = ["<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
CONTEXT, STEPS, ASKED = 512, 24, "hello world"


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE over printable ASCII, so that even random tokens are text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False))
    fast = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    fast.chat_template = TEMPLATE
    return fast


def llama(words: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.3,  # so that the best token is far from the second best, in every framework's arithmetic
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return LlamaForCausalLM(config).eval()


def greedy(model: LlamaForCausalLM, words: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Text, tokens and log-probabilities by running the whole model again for every token."""
    prompt = words.apply_chat_template(
        [{"role": "user", "content": ASKED}], tokenize=True, add_generation_prompt=True, return_dict=False
    )
    tokens, logprobs = list(prompt), []
    while len(tokens) < len(prompt) + STEPS and tokens[-1] != 1:
        with torch.no_grad():
            scores = torch.log_softmax(model(torch.tensor([tokens]), use_cache=False).logits[0, -1].float(), -1)
        tokens.append(int(scores.argmax()))
        logprobs.append(float(scores.max()))
    answer = tokens[len(prompt) :]
    text = words.decode(answer, skip_special_tokens=True)
    return {"text": text, "tokens": len(answer), "prompt": len(prompt), "logprobs": logprobs}


def encoder(folder: Path, words: PreTrainedTokenizerFast) -> list[list[float]]:
    """An embedding model as sentence-transformers lays it out, and the vectors of two texts."""
    torch.manual_seed(7)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=128, **shape)).eval()
    model.save_pretrained(folder)
    words._tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    words.save_pretrained(folder)
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
                {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
                {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
            ]
        )
    )
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    rows = []
    for text in (ASKED, "the lazy dog jumps over you and over you"):
        with torch.no_grad():
            hidden = model(torch.tensor([words(text)["input_ids"]])).last_hidden_state[0].mean(0)
        rows.append((hidden / hidden.norm()).tolist())
    return rows


def to_gguf(model: LlamaForCausalLM, words: PreTrainedTokenizerFast, path: Path) -> None:
    """The same weights for llama.cpp, whose rotary embedding wants the rows of queries and keys in another order."""
    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_file_type(0)
    writer.add_vocab_size(config.vocab_size)
    listed = sorted(words.get_vocab().items(), key=lambda item: item[1])
    merges = json.loads(words._tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([word for word, _ in listed])
    writer.add_token_types([3 if word in SPECIAL else 1 for word, _ in listed])
    writer.add_token_merges([each if isinstance(each, str) else " ".join(each) for each in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(TEMPLATE)
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    parts = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
    }
    for layer in range(config.num_hidden_layers):
        names |= {f"model.layers.{layer}.{ours}": f"blk.{layer}.{theirs}" for ours, theirs in parts.items()}
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        rows = tensor.float().numpy()
        count = next((each for part, each in heads.items() if part in name), None)
        if count is not None:
            rows = rows.reshape(count, 2, rows.shape[0] // count // 2, -1).swapaxes(1, 2).reshape(rows.shape)
        writer.add_tensor(names[name.removesuffix(".weight")] + ".weight", np.ascontiguousarray(rows))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Payload:
    """What a pickle may do to whoever opens it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def main(root: Path) -> None:
    words = tokenizer()
    expected: dict[str, Any] = {}
    for name, seed in (("first", 1), ("second", 2)):
        model = llama(words, seed)
        model.save_pretrained(root / name)
        words.save_pretrained(root / name)
        expected[name] = greedy(model, words)
        if name == "first":
            (root / "first" / "README.md").write_text("---\nlicense: mit\n---\nRandom weights.\n")
            (root / "gguf").mkdir()
            to_gguf(model, words, root / "gguf" / "tiny.gguf")
            for kind in (
                "state",
                "payload",
                "legacy",
            ):  # what a training loop saves, and what somebody else may have put there
                model.config.save_pretrained(root / kind)
                words.save_pretrained(root / kind)
            torch.save({"state_dict": model.state_dict(), "epoch": 3}, root / "state" / "last.ckpt")
            torch.save({"state_dict": Payload(root / "OWNED")}, root / "payload" / "model.pt")
            with (root / "legacy" / "pytorch_model.bin").open("wb") as file:
                pickle.dump(Payload(root / "OWNED"), file)
            llama(words, 1).to(torch.bfloat16).save_pretrained(root / "half", max_shard_size="100KB")
            words.save_pretrained(root / "half")
    builder = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(root / "first")]
    to = ["-o", str(root / "onnx"), "-p", "fp32", "-e", "cpu", "-c", str(root / "cache")]
    subprocess.run([*builder, *to], check=True, stdout=subprocess.DEVNULL)
    convert(hf_path=str(root / "first"), mlx_path=str(root / "mlx"), dtype="float32")
    expected["embedding"] = encoder(root / "encoder", tokenizer())
    (root / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
