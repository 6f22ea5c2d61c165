"""Names that would be markup, script, or a template's place, if anything took them for it."""

EVIL = "</script><img src=x onerror=alert(1)>"
EVIL_CLASSES = (
    EVIL,
    '"><svg onload=alert(2)>',
    "%DATA%",
    "&lt;b&gt; & 'quoted'",
    "\u202etxet desrever",
    "x" * 200,
)


def evil_keys(n):
    """Return n keys: markup, quotes, bytes that are no UTF-8, and very long ones."""
    shapes = (
        "{i}<script>alert(3)</script>.png",
        '{i}" onmouseover="alert(4).png',
        "{i}\udcff\udcfe.png",
        "{i}'`${{alert(5)}}.png",
        "{i}<!--.png",
        "{i}" + "long" * 30 + ".png",
    )
    return [shapes[i % len(shapes)].format(i=i) for i in range(n)]
