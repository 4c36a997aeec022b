"""How often each of two was preferred, in words, and how likely chance does the same."""

from dataclasses import dataclass
from math import comb

UNLIKELY = 0.05
"""By custom, what chance does as seldom as this is not put down to chance."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How often each player's answer was preferred."""

    first: int
    second: int
    ties: int = 0
    neither: int = 0
    """Both were bad, or a better one was written."""

    @property
    def decided(self) -> int:
        """Rounds in which one was preferred; the others say nothing about which is better."""
        return self.first + self.second

    @property
    def chance(self) -> float:
        """How likely a coin prefers one side as often as the one preferred more often was, or more often."""
        return chance_of(max(self.first, self.second), self.decided)

    @property
    def meaning(self) -> str:
        """Whether that may be chance, in a sentence; "" where there is nothing to say."""
        if not self.decided or self.first == self.second:
            return ""
        if self.chance <= UNLIKELY:
            return "By custom that is too seldom for chance (5 % or less): you do taste a difference."
        return "That may well be chance (more than 5 %). More rounds tell more."

    def sentence(self, first: str, second: str) -> str:
        """What was found, for people.

        Args:
            first: what to call the first player, such as "the tuned model".
            second: the other.
        """
        if not self.decided:
            told = f"You preferred neither {first} nor {second} in any round, so there is nothing to count."
        elif self.first == self.second:
            told = f"You preferred each of them {self.first} of {self.decided} times: no difference was seen."
        else:
            name = first if self.first > self.second else second
            often = max(self.first, self.second)
            times = "time" if self.decided == 1 else "times"
            chance = percent(self.chance)
            told = f"You preferred {name} {often} of {self.decided} {times}; a coin does that {chance} of the time."
        left_out = []
        if self.ties:
            left_out.append("1 tie" if self.ties == 1 else f"{self.ties} ties")
        if self.neither:
            rounds = "1 round" if self.neither == 1 else f"{self.neither} rounds"
            left_out.append(f"{rounds} in which neither was good enough")
        if left_out:
            one = self.ties + self.neither == 1
            told += f" {' and '.join(left_out)} {'is' if one else 'are'} left out."
        return told


def chance_of(wins: int, rounds: int) -> float:
    """How likely a fair coin shows one named side at least `wins` times in `rounds`: the binomial tail, exactly."""
    return sum(comb(rounds, k) for k in range(wins, rounds + 1)) / (1 << rounds)


def needed(rounds: int) -> int | None:
    """How often one has to be preferred in so many rounds for chance to be `UNLIKELY`; None if even always is too seldom."""
    return next((wins for wins in range(rounds + 1) if chance_of(wins, rounds) <= UNLIKELY), None)


def percent(share: float) -> str:
    """A share for people, such as `6 %`."""
    if share < 0.001:
        return "less than 0.1 %"
    return f"{100 * share:.1f} %" if share < 0.0095 else f"{100 * share:.0f} %"
