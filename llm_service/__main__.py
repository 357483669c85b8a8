"""The entry point of `llm-service` and of `python -m llm_service`."""

import os
import sys


def main() -> None:
    """Run the command; a failure is one line on standard error."""
    # gRPC's own log is not ours: it would add lines to an error, in a form of its own.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        if sys.argv[1:] == ["serve"]:
            # Past the command line's library, which would stay in the server's memory (9 MB).
            from llm_service import serving

            sys.exit(serving.run())
        from llm_service import commands

        commands.app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
