"""Chapters 9 and 10: which of two answers is better, and how good a model is."""

from mlxllm.learn.chapter import Chapter, Experiment, Reference

PREFERENCES = Chapter(
    number=9,
    title="Preferences (DPO)",
    text="""
Imitation needs somebody who writes the answer. Often it is easier to say which of two is better:
kinder, shorter, true. The first way to learn from that trained a second model to give marks, and
then the first one by reinforcement to earn them (arXiv:2203.02155): three or four models in
memory, and a training that has to be watched.

Direct preference optimisation (arXiv:2305.18290) does it with a loss. If the best model under
given marks may not move too far from where it began, then the marks can be read off it: the
reward of an answer is how much likelier it has become, times a constant. Put that into the
probability that one answer beats another, and the marks are gone from the formula. What remains
asks for one thing: that the chosen answer gains more in likelihood than the rejected one,
measured against the model before (the reference). h is the difference of the two gains, and beta
h is called the margin.

- beta says how strongly the model is held to the reference: small lets it move far.
- A pair that is already far apart has hardly a gradient: sigmoid(-beta h) is near 0. Training
  goes where the model is wrong.
- Only the difference counts. Both answers may become less likely, the rejected one faster, and
  the loss is content; an added share of the ordinary loss (`sft_weight`) holds the chosen one up.

The experiment scores pairs with your model and with its reference, and shows the one pair whose
margin is largest: both answers, their likelihoods before and after, and the loss of it worked out
in numbers.
""",
    formula=(
        "h = [log π(w) − log ref(w)] − [log π(l) − log ref(l)]\n"
        "w the chosen answer, l the rejected one\n"
        "L = −log σ(β h)\n"
        "reward(y) = β (log π(y) − log ref(y))"
    ),
    references=(
        Reference("mlxllm/evaluation/preference_losses.py", "pair_losses"),
        Reference("mlxllm/evaluation/preference_losses.py", "rewards"),
        Reference("mlxllm/training/dpo.py", "dpo_objective"),
        Reference("mlxllm/evaluation/preferences.py", "most_moved"),
    ),
    experiments=(
        Experiment(
            "eval --model {dpo} --preferences {pairs} --limit 64 --moved",
            "rewards/accuracies is the share of pairs in which the chosen answer gained more. In the pair at the end, "
            "see whether the chosen one became likelier, or only the rejected one less likely.",
        ),
        Experiment(
            "dpo --model {model} --data {lesson} --run {liked} --max-steps 30 --batch-size 4 --learning-rate 1e-4 "
            "--set train.warmup_steps=3 --set train.sample_every=0",
            "It teaches your model to prefer kind endings, by 24 pairs that came along. The loss of DPO begins at 0.693 "
            "and falls, the share of pairs told right rises. Run the experiment once more, and it shows the pair that has "
            "moved most.",
        ),
    ),
    question="What is the loss of DPO at the very first step, whatever the model and the pairs?",
    answer=(
        "log 2 = 0.6931. Before the first update the model is its own reference, so h = 0 and sigmoid(0) = 1/2 for each "
        "pair. A run that does not begin there compares with the wrong reference, or adds another "
        "loss to this one, as the balance of a mixture of experts is."
    ),
)

EVALUATION = Chapter(
    number=10,
    title="Evaluation",
    text="""
Loss on the training text says how well the model has learned that text, by heart perhaps. What
counts is text that it has never seen: a part is held out before training begins. When its loss
turns upward while the training loss goes on falling, the model has begun to memorise.

A loss a token depends on how the text was cut (chapter 2). Bits per byte do not: the sum of -log2
p over all tokens, divided by the bytes that they stand for. It is also the size to which the
model could compress the text, and it compares any two models on the same text. 8 is guessing.
Perplexity is e to the loss: of how many equally likely tokens the model is as unsure.

Whether it can do something is asked with questions. For multiple choice one need not let it
write: the choice with the highest likelihood is its answer, as it is (acc) or per character
(acc_norm), since long choices are less likely whatever they say. Guessing has a score, too; look
at that first.

Every number is one of a sample. With n questions a share p has a standard error of sqrt(p (1 - p)
/ n): with a hundred questions five points are nothing. And a test that stood in the training data
measures memory; that is why overlap is looked for (`data build --overlap`).

For open answers there is no key. One asks people, blindly and with sides shuffled, or a judge
model, in both orders, since judges like the first place and long answers. Which of these numbers
matters depends on what the model is for; one of them alone has never been enough.
""",
    formula="bits per byte = Σ −log₂ p(token) / bytes\nstderr = √(p (1 − p) / n)",
    references=(
        Reference("mlxllm/evaluation/perplexity.py", "token_losses"),
        Reference("mlxllm/evaluation/perplexity.py", "Evaluator"),
        Reference("mlxllm/evaluation/scoring.py", "Scorer"),
        Reference("mlxllm/evaluation/intervals.py", "wilson"),
    ),
    experiments=(
        Experiment(
            "eval --model {model} --data {dataset} --limit 16",
            "Loss, perplexity and bits per byte of held-out text, each with its standard error over windows. "
            "Without --limit all of it is scored.",
        ),
    ),
    missing=(
        "no dataset that a model of yours was trained on is there any more; `mlxllm eval --model M --data FILE` scores one "
        "on any other text"
    ),
    question="Model A answers 80 of 100 questions right, model B 76 of the same 100. Is A better?",
    answer=(
        "Nobody can tell from this. The standard errors are 4.0 and 4.3 points, that of a difference of two independent "
        "samples 5.9; 4 points are less than one of these. As both had the same questions, one should count those that only "
        "one of them got right, of which A has four more. But even at 4 against 0 a coin would be as clear one time in eight."
    ),
)
