"""The bench is there for every test below this folder."""

pytest_plugins = ["hil_tests.bench.plugin"]
