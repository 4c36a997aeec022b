"""The fixed text that an export is judged on: scripts, code, numbers, emoji, white space and control characters."""

SAMPLES: tuple[str, ...] = (
    "The old lighthouse keeper counted seventeen ships before breakfast; by noon the fog had taken every one of them. "
    "\"They'll be back,\" he said, and didn't look up from his soup.",
    "Müßiggängerische Füchse jagen quer über den Zwölferkogel. À Noël, la garçonne naïve dégusta son cœur de bœuf.",
    "Mañana, ¿quién vendrá? — Žluťoučký kůň úpěl ďábelské ódy. Zażółć gęślą jaźń. Đường phố ướt mưa.",
    "Старый мельник считал мешки до рассвета. Ο ποταμός θυμάται το όνομά σου.",
    "老渔夫说，海从不记得昨天。夜の図書館で、猫が新聞を読んでいた。바람이 종을 울렸다.",
    "كان البحر هادئًا في الصباح. הספר הישן נפתח מעצמו. नदी धीरे-धीरे बहती है। สายน้ำไหลช้าๆ",
    'def area(r):\n\treturn 3.14159 * r ** 2  # πr²\n\nfor i in range(10):\n    print(f"{i:>3} {area(i):.2f}")\n',
    '{"id": 40217, "tags": ["a", "b"], "price": 1299.95, "ok": true}\n<p class="x">5 &lt; 7</p>\n',
    "0 1 12 123 1234 12345 3.14 -2.7e-10 1,000,000 0x7F 2024-02-29 23:59:60 50% ½ ² ₂ ∑ √2 ≈ 1.414 → ∞",
    "👩‍🚀🚀 👍🏽 🇯🇵 ❤️‍🔥 ☕️ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 e\u0301 n\u0303 \ufb01 \u1e9b\u0323",
    " leading, double  spaces,   triple; trailing \n\n\n\n\tTabs\t\tand\r\nCRLF\rCR\x0b\x0c\u00a0\u2003\u3000\u200b|",
    "\x00\x01\x07\x1b[31m\x7f\x80\x9f\ufeff\ufffd\u202eabc\u202c<0x0A> ▁ Ġ",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ababababababab    xyzxyzxyz !!!???...;;; ------ ====== ___ \\\\\\ ``` '''",
)
"""Of our own writing; none of them spells a special token of ours, and each is encoded on its own."""

PROMPT = "Once upon a time, a small fox found a bright red door in the middle of the forest."
"""Is continued greedily."""

MESSAGES: tuple[dict[str, str], ...] = (
    {"role": "user", "content": "Name two colours of the sea.\nOne word each!"},
    {"role": "assistant", "content": "Grün, 蓝."},
    {"role": "user", "content": " And the third?  "},
)
"""Are rendered with the chat template, where there is one; no system message, which some templates refuse."""
