"""What no schema can tell of an address or a name: each function says what is wrong with a text, None if nothing."""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

_HOST = re.compile(r"[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?\.?")
_INTERNAL_TOPICS = ("__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata")
_SYSTEM_KEYSPACES = re.compile(r"(dse_|solr_)?system(_[a-z_]+)?")
# Words that CQL takes for its own; those that may be names all the same are not here.
_CQL_WORDS = (
    "add allow alter and apply asc authorize batch begin by columnfamily create default delete desc describe drop"
    " entries execute from full grant if in index infinity insert into is keyspace limit materialized mbean mbeans"
    " modify nan norecursive not null of on or order primary rename replace revoke schema select set table to token"
    " truncate unlogged unset update use using view where with"
)


def servers_problem(text: str) -> str | None:
    """`host:port`, comma separated, as Kafka's clients want it."""
    for entry in text.split(","):
        host, colon, port = entry.strip().rpartition(":")
        if not colon or not port.isdigit():
            return f"must be host:port, comma separated; {entry.strip()!r} has no port"
        if not 0 < int(port) < 65_536:
            return f"must have ports from 1 to 65535, not {port}"
        if problem := host_problem(host):
            return f"must be host:port, comma separated; {problem}"
    return None


def host_problem(text: str) -> str | None:
    """A host name or an address, without port or scheme."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if is_address(bare):
        return None
    if "://" in text:
        return f"{text!r} is a URL, not a host"
    name, colon, port = text.partition(":")
    if colon and port.isdigit():
        return f"{text!r} is a host with a port: give {name!r} and the port in its own field"
    return None if _HOST.fullmatch(text) else f"{text!r} is no host name"


def url_problem(text: str, query: bool = False) -> str | None:
    """An http or https URL without user and password and fragment; without query, unless it may have one."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return "must be a URL whose port is from 1 to 65535"
    if not url.hostname or port == 0:
        return "must be a URL with a host, like http://host:port"
    if url.username is not None or url.password is not None:
        return "must hold no user and no password: they belong into a Secret"
    if url.fragment or (url.query and not query):
        return f"must be a URL without {'#' if query else '? and #'}"
    problem = host_problem(url.hostname)
    return f"must be a URL with a host; {problem}" if problem else None


def topic_problem(name: str) -> str | None:
    """A topic name that is free for users."""
    if name in (".", ".."):
        return "is no topic name for Kafka"
    return "is a topic of Kafka itself" if name in _INTERNAL_TOPICS else None


def keyspace_problem(name: str) -> str | None:
    """A keyspace name that is free for users and needs no quotes in CQL."""
    if _SYSTEM_KEYSPACES.fullmatch(name):
        return "is a keyspace of Cassandra itself"
    return "is a word of CQL, so it can be no name" if name in _CQL_WORDS.split() else None


def bucket_problem(name: str) -> str | None:
    """A bucket name by the rules of S3 that a pattern cannot tell."""
    if is_address(name):
        return "is an IP address, which S3 refuses as a bucket"
    broken = any(mark in name for mark in ("..", ".-", "-."))
    return "must not have '..', '.-' or '-.', which S3 refuses" if broken else None


def prefix_problem(text: str) -> str | None:
    """A key prefix that is the same path for every S3 client; slashes at its ends do not matter."""
    broken = any(part in ("", ".", "..") for part in text.strip("/").split("/")) if text else False
    return "must be names joined by single slashes, and no name may be '.' or '..'" if broken else None


def is_address(text: str) -> bool:
    """Whether it is an IPv4 or IPv6 address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
