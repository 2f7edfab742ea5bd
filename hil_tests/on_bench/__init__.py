"""The tests that run on every bench: pytest hil_tests --bench FILE."""
