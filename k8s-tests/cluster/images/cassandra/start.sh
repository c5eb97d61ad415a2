#!/bin/sh
# Writes the configuration for this pod, then becomes the Cassandra node. The environment may set:
#   CASSANDRA_AUTH=password   ask for user and password; the first superuser is cassandra/cassandra (default: ask nothing)
#   CASSANDRA_DC              the datacenter's name (default dc1)
#   CASSANDRA_HEAP            the heap's size (default 1g)
set -eu
address=$(hostname -i)
authenticator=AllowAllAuthenticator authorizer=AllowAllAuthorizer
if [ "${CASSANDRA_AUTH:-}" = password ]; then authenticator=PasswordAuthenticator authorizer=CassandraAuthorizer; fi
conf=/tmp/cassandra
mkdir -p "$conf"
sed -e "s/@ADDRESS@/$address/g" -e "s/@AUTHENTICATOR@/$authenticator/" -e "s/@AUTHORIZER@/$authorizer/" \
  /etc/cassandra/cassandra.yaml > "$conf/cassandra.yaml"
printf 'dc=%s\nrack=rack1\n' "${CASSANDRA_DC:-dc1}" > "$conf/cassandra-rackdc.properties"
cp /etc/cassandra/logback.xml "$conf/"
exec /opt/java/bin/java @/etc/cassandra/java.options -Xms"${CASSANDRA_HEAP:-1g}" -Xmx"${CASSANDRA_HEAP:-1g}" \
  -Dcassandra.config="file://$conf/cassandra.yaml" -Dcassandra.storagedir=/var/lib/cassandra \
  -cp "$conf:/opt/cassandra/lib/*" org.apache.cassandra.service.CassandraDaemon
