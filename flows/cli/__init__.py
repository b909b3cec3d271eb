"""The command line: the same flows as the deployments, for people who do not run Prefect."""
