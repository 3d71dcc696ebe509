"""The program `health-services`, which `python -m health_services` is too."""

import gc


def main() -> None:
    """Run a command. Nothing that is imported is garbage: looking for some would take a tenth of a server's start."""
    gc.disable()
    from health_services import cli  # noqa: PLC0415 - its import is what takes long

    cli.main()


if __name__ == "__main__":
    main()
