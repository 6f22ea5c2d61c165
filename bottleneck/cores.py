"""How many CPU cores this process may use."""


def available_cores() -> int:
    """Count cores within this process's affinity and its control group's quota."""
    from joblib import cpu_count  # late: `bottleneck --help` needs no joblib

    return int(cpu_count())
