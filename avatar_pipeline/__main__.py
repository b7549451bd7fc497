"""python -m avatar_pipeline: the command line."""

from avatar_pipeline.cli.main import main

if __name__ == "__main__":
    main()
