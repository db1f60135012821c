"""`python -m moorage`."""

from moorage.cli.main import run

if __name__ == "__main__":
    run()
