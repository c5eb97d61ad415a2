"""A real one-node Kubernetes for tests, without Docker: built from Go modules and Debian packages, run in namespaces.

Standard library only, so that it runs with any Python 3.11 before anything of the project is installed.
"""
