"""Conversations as hypothesis makes them up."""

from hypothesis import strategies as st

from mlxllm.conversation import Message
from mlxllm.tokenizer import SPECIAL_TOKENS
from tests.conversation.templates import SPECIALS

plain = st.text(st.characters(codec="utf-8"), max_size=30)
"""Any text."""
nasty = st.lists(st.one_of(plain, st.sampled_from(["\n", "\n\n", " ", "assistant", "<", "|>", "▁"])), max_size=4).map(
    "".join
)
"""Texts that tempt a tokenizer to merge what should stay apart."""
spelled = st.lists(st.one_of(nasty, st.sampled_from([*SPECIAL_TOKENS, *SPECIALS])), max_size=4).map("".join)
"""Texts that spell special tokens."""


def turns(text: st.SearchStrategy[str], *, system: bool = True, most: int = 3) -> st.SearchStrategy[list[Message]]:
    """A system text perhaps, then questions and answers in turn, ending with an answer."""

    def made(said: str | None, pairs: list[tuple[str, str]]) -> list[Message]:
        messages = [] if said is None else [Message("system", said)]
        for question, answer in pairs:
            messages += [Message("user", question), Message("assistant", answer)]
        return messages

    pairs = st.lists(st.tuples(text, text), min_size=1, max_size=most)
    return st.builds(made, st.none() | text if system else st.none(), pairs)


any_messages = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant", "tool"]), spelled), max_size=6
)
"""Roles in any order."""
