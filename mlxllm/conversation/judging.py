"""A choice between two answers, and the preference store: a round is judged and its pairs are kept, or neither."""

from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.trials import Choice, Outcome, Trial


def judge(trial: Trial, store: PreferenceStore, choice: Choice, rewritten: str = "") -> Outcome:
    """Judge the current round and keep the preferences that come of it.

    Raises:
        ConfigError: this cannot be chosen here; see `Trial.judge`.
        DataError: the preferences cannot be stored; the round is not judged then.
    """
    outcome = trial.judge(choice, rewritten)
    try:
        store.add(*outcome.preferences)
    except Exception:
        trial.undo()
        raise
    return outcome
