"""Which rows may share a batch, on rings as the driver knows them."""

import numpy as np
import pyarrow as pa
from cassandra.cluster import Metadata
from cassandra.metadata import KeyspaceMetadata, Murmur3Token, TokenMap
from cassandra.policies import SimpleConvictionPolicy
from cassandra.pool import Host
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.adapters.store_writer import ring_of
from meterpipe.core.murmur3 import tokens

KEYSPACE = "ks"


def token_map(ring, nodes, replicas):
    """A ring of one datacenter whose token i belongs to node i mod `nodes`."""
    metadata = Metadata()
    hosts = [Host(f"10.0.0.{i}", SimpleConvictionPolicy) for i in range(nodes)]
    for host in hosts:
        host.set_location_info("dc1", "rack1")
        metadata.add_or_return_host(host)
    strategy = {"class": "NetworkTopologyStrategy", "dc1": str(replicas)}
    metadata.keyspaces[KEYSPACE] = KeyspaceMetadata(KEYSPACE, True, strategy.pop("class"), strategy)
    owners = {Murmur3Token(token): hosts[i % nodes] for i, token in enumerate(ring)}
    metadata.token_map = TokenMap(Murmur3Token, owners, sorted(owners), metadata)
    return metadata.token_map


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=12, unique=True),
    st.integers(1, 3),
    st.integers(1, 3),
    st.lists(st.binary(min_size=1, max_size=20), min_size=1),
)
def test_two_keys_share_an_owner_only_if_the_same_nodes_hold_both(ring, nodes, replicas, keys):
    known = token_map(ring, nodes, replicas)
    packed = pa.array(keys, pa.binary())
    owners = ring_of(known, KEYSPACE).of(packed)
    held_by = [
        frozenset(host.address for host in known.get_replicas(KEYSPACE, Murmur3Token.from_key(key))) for key in keys
    ]
    nodes_of = dict(zip(owners.tolist(), held_by, strict=True))
    assert [nodes_of[owner] for owner in owners.tolist()] == held_by


def test_a_key_on_the_boundary_of_two_ranges_belongs_to_the_one_that_ends_there():
    key = pa.array([b"key"], pa.binary())
    (token,) = tokens(key).tolist()
    known = token_map([token - 1, token, token + 1], 3, 1)
    ring = ring_of(known, KEYSPACE)
    (owner,) = ring.of(key)
    assert owner == ring.owners[np.flatnonzero(ring.ends == token)[0]]


def test_a_server_that_tells_nothing_of_its_ring_is_one_owner():
    assert ring_of(None, KEYSPACE).of(pa.array([b"a", b"b"], pa.binary())).tolist() == [0, 0]
