"""Every setting of a run: frozen models, one docstring line a field, the only place of a default.

Keys of `model` are Hugging Face's, so that a config travels unchanged. How layers of settings are merged is in
`mlxllm/settings.py`; the shipped recipes are in `mlxllm/presets.py`.
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A group of settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name is not None:
            wanted = cls.model_fields[info.field_name].annotation
            kinds = [wanted, *get_args(wanted)]
            if bool not in kinds and (int in kinds or float in kinds):
                raise PydanticCustomError("number_type", "Input should be a number")
        return value


class RopeScaling(Section):
    """How rotary frequencies are stretched to contexts longer than the model was trained on."""

    rope_type: Literal["linear", "llama3"] = "linear"
    """`linear` divides every position; `llama3` divides only the low frequencies."""
    factor: float = Field(1.0, gt=0)
    """By how much the context is stretched."""
    low_freq_factor: float = Field(1.0, gt=0)
    """llama3: wavelengths above original / this are divided by `factor`."""
    high_freq_factor: float = Field(4.0, gt=0)
    """llama3: wavelengths below original / this are left alone."""
    original_max_position_embeddings: int = Field(8192, gt=0, le=2**30)
    """llama3: the context that the model was first trained on."""


class ModelConfig(Section):
    """The transformer's shape: every choice that the model file can make."""

    vocab_size: int = Field(0, ge=0, le=2**24)
    """Rows of the embedding; 0 takes the tokenizer's size when a run starts."""
    hidden_size: int = Field(256, gt=0, le=2**17)
    """Width D of the residual stream."""
    num_hidden_layers: int = Field(4, gt=0, le=10_000)
    """Number of blocks."""
    num_attention_heads: int = Field(4, gt=0, le=10_000)
    """Number of query heads H."""
    num_key_value_heads: int = Field(4, gt=0)
    """Number of key and value heads K: H is multi-head, 1 is multi-query, between is grouped-query attention."""
    head_dim: int | None = Field(None, gt=0, le=2**16)
    """Width of one head; by default hidden_size / num_attention_heads."""
    intermediate_size: int = Field(704, gt=0, le=2**20)
    """Width of the feed-forward's hidden layer."""
    max_position_embeddings: int = Field(1024, gt=0, le=2**30)
    """The longest context; rows of the table where positions are learned."""
    positions: Literal["rope", "learned", "sinusoidal", "none"] = "rope"
    """How a token knows where it stands."""
    rope_theta: float = Field(10000.0, gt=0)
    """Base of the rotary wavelengths."""
    rope_scaling: RopeScaling | None = None
    """Stretching of rotary positions, if any."""
    no_rope_layers: tuple[Annotated[int, Field(ge=0, le=1)], ...] = ()
    """rope: for each layer 1 where it rotates and 0 where it knows no positions (arXiv:2501.18795); empty: all rotate."""
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    """Which normalisation."""
    norm_position: Literal["pre", "post"] = "pre"
    """Before each sublayer, or after the residual sum as in 2017."""
    norm_eps: float = Field(1e-6, gt=0)
    """Added to the variance."""
    hidden_act: Literal["silu", "gelu", "gelu_new", "relu", "relu2"] = "silu"
    """Activation of the feed-forward (`gelu_new` is the tanh approximation)."""
    mlp_gated: bool = True
    """act(gate(x)) * up(x) as in SwiGLU, rather than act(up(x))."""
    qk_norm: bool = False
    """RMSNorm on every head's queries and keys before the rotation."""
    attention_bias: bool = False
    """Biases of the query, key and value projections."""
    attention_out_bias: bool = False
    """Bias of the attention's output projection."""
    mlp_bias: bool = False
    """Biases of the feed-forward."""
    tie_word_embeddings: bool = True
    """The output head is the embedding's transpose."""
    sliding_window: int | None = Field(None, gt=0)
    """Attend to this many last positions only."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on embeddings, attention outputs and feed-forward outputs while training."""
    num_experts: int = Field(0, ge=0, le=2**14)
    """Number of experts of each feed-forward; 0 is a dense model."""
    num_experts_per_tok: int = Field(2, gt=0)
    """Experts that each token is sent to."""
    moe_intermediate_size: int = Field(256, gt=0, le=2**20)
    """Width of one expert's hidden layer."""
    norm_topk_prob: bool = True
    """Whether the chosen experts' weights are made to sum to one."""
    router_aux_loss_coef: float = Field(0.01, ge=0)
    """Weight of the load-balancing loss."""
    initializer_range: float = Field(0.02, gt=0)
    """Standard deviation of the initial weights."""
    zero_init_outputs: bool = False
    """Start the output projections of attention and feed-forward at zero, so that each block begins as the identity;
    otherwise they start with a deviation smaller by sqrt(2 * num_hidden_layers), as GPT-2's do."""

    @property
    def resolved_head_dim(self) -> int:
        """Width of one head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}; "
                f"change one or set head_dim"
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}; make it so, or leave both equal"
            )
        if self.positions == "rope" and self.resolved_head_dim % 2:
            raise ValueError(f"rotary positions need an even head width, not {self.resolved_head_dim}")
        if self.no_rope_layers and len(self.no_rope_layers) != self.num_hidden_layers:
            raise ValueError(
                f"no_rope_layers has {len(self.no_rope_layers)} entries for num_hidden_layers {self.num_hidden_layers}; give "
                f"one for each layer, or none"
            )
        if self.positions == "sinusoidal" and self.hidden_size % 2:
            raise ValueError(f"sinusoidal positions need an even hidden_size, not {self.hidden_size}")
        if self.num_experts and self.num_experts_per_tok > self.num_experts:
            raise ValueError(
                f"num_experts_per_tok {self.num_experts_per_tok} is more than num_experts {self.num_experts}"
            )
        return self


class DataConfig(Section):
    """What the model reads."""

    dataset: str = ""
    """Name or path of the dataset."""
    max_seq_len: int = Field(256, gt=1, le=2**24)
    """Tokens of one training row, and of one validation window (T)."""
    records: tuple[str, ...] = ()
    """Fine-tuning: files, folders or Hub names of conversations (sft) or preferences (dpo)."""
    val_records: tuple[str, ...] = ()
    """Fine-tuning: the same, held out for validation."""
    val_split: float = Field(0.0, ge=0, lt=1)
    """Fine-tuning: the share of `records` that is held out where `val_records` names none."""
    train_on: Literal["assistant", "last", "all", "completion"] = "assistant"
    """sft: which tokens are learned: every answer, the last one, all tokens, or the answers behind the prompt."""


class TrainConfig(Section):
    """How the weights move."""

    optimizer: Literal["adamw", "muon", "lion"] = "adamw"
    """Update rule; `muon` is for matrices and leaves embeddings, head and norms to AdamW."""
    learning_rate: float = Field(3e-4, gt=0)
    """Peak learning rate (of AdamW or Lion, reached after `warmup_steps`)."""
    muon_learning_rate: float = Field(0.02, gt=0)
    """Peak learning rate of the matrices under `muon`."""
    muon_momentum: float = Field(0.95, ge=0, lt=1)
    """Nesterov momentum of Muon."""
    schedule: Literal["constant", "cosine", "linear", "wsd"] = "wsd"
    """Shape after warm-up; `wsd` stays at the peak and decays linearly at the end."""
    warmup_steps: int = Field(20, ge=0)
    """Steps of linear warm-up from zero; a run shorter than this warms up over its first half."""
    decay_fraction: float = Field(0.3, gt=0, le=1)
    """wsd: the share of the steps, at the end, in which the rate decays."""
    min_lr_ratio: float = Field(0.0, ge=0, le=1)
    """The last learning rate as a share of the peak."""
    weight_decay: float = Field(0.1, ge=0)
    """Decoupled weight decay of matrices (never of norms, biases or position tables)."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    """Decay of the first and second moments."""
    eps: float = Field(1e-8, gt=0)
    """Added to the root of the second moment."""
    max_grad_norm: float = Field(1.0, ge=0)
    """Gradients are scaled down to this global norm; 0 switches clipping off."""
    batch_size: int = Field(16, gt=0, le=2**20)
    """Rows of one forward pass (B)."""
    grad_accum_steps: int = Field(1, gt=0, le=2**20)
    """Forward passes whose gradients are summed before one update."""
    max_steps: int = Field(1000, gt=0, le=10**12)
    """Updates in all."""
    epochs: float | None = Field(None, gt=0, le=10**6)
    """Fine-tuning: updates in all are as many as it takes to see the records so many times."""
    eval_every: int = Field(250, ge=0)
    """Steps between validations; 0 validates at the end only."""
    checkpoint_every: int = Field(500, ge=0)
    """Steps between checkpoints; 0 saves at the end only."""
    keep_checkpoints: int = Field(2, gt=0)
    """How many of the newest checkpoints stay, beside the best one and the one from before the decay."""
    sample_every: int = Field(0, ge=0)
    """Steps between samples, of which the last comes at the end; 0 takes none."""
    sample_prompt: str = ""
    """What the samples continue."""
    early_stop_evals: int = Field(0, ge=0)
    """Stop after so many validations in a row without a better one; 0 never does."""
    seed: int = Field(42, ge=0, lt=2**32)
    """Decides initial weights, order of data and dropout."""
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the forward and backward passes compute in; `auto` is bfloat16 on a GPU and float32 on the CPU."""
    lanes: int = Field(0, ge=0)
    """Parts of a batch that are computed side by side on the CPU, one a core; 0 chooses, a GPU always takes 1."""
    gradient_checkpointing: bool = False
    """Recompute each block in the backward pass instead of keeping its activations."""
    loss_chunk_tokens: int = Field(1024, gt=0)
    """Cross-entropy sees the logits of so many tokens at once."""
    z_loss: float = Field(0.0, ge=0)
    """Weight of the squared log-partition, which keeps logits small."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target probability that is spread over the vocabulary."""
    max_nonfinite_steps: int = Field(5, gt=0)
    """So many skipped updates in a row stop the run."""


LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a block that can have an adapter."""


class LoraConfig(Section):
    """Low-rank adapters (fine-tuning): only they are trained, the model below them is frozen."""

    method: Literal["lora", "dora"] = "lora"
    """LoRA (arXiv:2106.09685), or DoRA (arXiv:2402.09353), which also trains the length of each row of a matrix."""
    rank: int = Field(8, gt=0, le=2**14)
    """Rank r of each update."""
    alpha: float = Field(16.0, gt=0)
    """Scale of the update is alpha / rank, or alpha / sqrt(rank) with `rslora`."""
    rslora: bool = False
    """Scale by sqrt(rank), so that a higher rank does not learn more slowly (arXiv:2312.03732)."""
    targets: tuple[str, ...] = ("all",)
    """Linear layers that get an adapter: any of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, or all;
    as text, separated by commas."""
    layers: int = Field(-1, ge=-1)
    """How many of the last blocks get adapters; -1 is all."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""
    quantize: Literal["affine4", "affine8", "mxfp4", "nvfp4"] | None = None
    """Hold the frozen matrices of the blocks in this format (QLoRA, arXiv:2305.14314); none leaves them as they are."""

    @property
    def scale(self) -> float:
        """What the low-rank product is multiplied with."""
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)

    @field_validator("targets", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known(self) -> Self:
        known = (*LORA_TARGETS, "all")
        if unknown := [name for name in self.targets if name not in known]:
            raise ValueError(f"lora.targets has {unknown[0]!r}; known are {', '.join(known)}")
        if not self.targets:
            raise ValueError(f"lora.targets is empty; name at least one of {', '.join(known)}")
        if self.layers == 0:
            raise ValueError("lora.layers is 0, which would train nothing; -1 takes all blocks, N the last N")
        return self


class DpoConfig(Section):
    """Direct preference optimisation."""

    loss: Literal["sigmoid", "ipo", "hinge", "robust", "simpo", "orpo"] = "sigmoid"
    """Which objective on the pair."""
    beta: float = Field(0.1, gt=0)
    """Strength of the pull to the reference."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """sigmoid and robust: assumed share of wrongly labelled pairs."""
    gamma: float = Field(0.5, ge=0)
    """simpo: by how much the chosen answer's mean, times beta, is to be ahead."""
    sft_weight: float = Field(0.0, ge=0)
    """Adds so much of the chosen answer's negative log-likelihood a token."""


HOTTEST = 100
"""Hotter than this all tokens are nearly as likely as each other, whatever the model: who asks for more has mistyped."""


class SampleConfig(Section):
    """How the next token is chosen."""

    temperature: float = Field(0.8, ge=0)
    """Sharpness of the distribution; 0 always takes the likeliest token."""
    top_k: int = Field(0, ge=0)
    """Only the k likeliest tokens; 0 is all."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Only the smallest set of tokens that holds this probability."""
    min_p: float = Field(0.0, ge=0, le=1)
    """Only tokens at least this share as likely as the likeliest."""
    repetition_penalty: float = Field(1.0, gt=0)
    """Divides the scores of tokens that occurred among the last ones; 1 is off."""
    repetition_context_size: int = Field(64, gt=0)
    """How many last tokens the penalty looks at."""
    max_tokens: int = Field(200, gt=0)
    """The longest continuation."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Decides the draws."""


class RunConfig(Section):
    """One training run, whole: what config.json in a run directory holds."""

    preset: str = ""
    """The preset it began from (a note; the sections below are already resolved)."""
    method: Literal["pretrain", "sft", "dpo"] = "pretrain"
    """What is trained: the next token of texts, answers in conversations, or the preference between two answers."""
    base_model: str = ""
    """The model whose weights training begins with; none draws fresh ones."""
    base_adapter: str = ""
    """An adapter that is merged into them first."""
    base_fingerprint: str = ""
    """SHA-256 of those weights, so that a run that needs them again notices when they have changed."""
    model: ModelConfig = ModelConfig()
    """The transformer."""
    data: DataConfig = DataConfig()
    """The dataset."""
    train: TrainConfig = TrainConfig()
    """The recipe."""
    lora: LoraConfig | None = None
    """Adapters; none is full training."""
    dpo: DpoConfig | None = None
    """Preference optimisation; none is next-token training."""
    sample: SampleConfig = SampleConfig()
    """Samples during training."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.train.gradient_checkpointing and self.model.dropout > 0:
            raise ValueError(
                f"train.gradient_checkpointing recomputes blocks with other dropout draws, so gradients would be wrong; "
                f"set model.dropout to 0 (it is {self.model.dropout}) or switch checkpointing off"
            )
        if self.train.gradient_checkpointing and self.lora is not None and self.lora.dropout > 0:
            raise ValueError(
                f"train.gradient_checkpointing recomputes blocks with other dropout draws, so gradients would be wrong; "
                f"set lora.dropout to 0 (it is {self.lora.dropout}) or switch checkpointing off"
            )
        if self.model.positions in ("learned", "sinusoidal") and (
            self.data.max_seq_len > self.model.max_position_embeddings
        ):
            raise ValueError(
                f"data.max_seq_len {self.data.max_seq_len} is longer than model.max_position_embeddings "
                f"{self.model.max_position_embeddings}, and {self.model.positions} positions end there"
            )
        return self

    def with_values(self, **sections: dict[str, Any]) -> Self:
        """A copy with some fields replaced, e.g. `with_values(train={"max_steps": 10})`, validated anew."""
        raw = self.model_dump()
        for name, values in sections.items():
            raw[name] = {**(raw[name] or {}), **values}
        return type(self).model_validate(raw)
