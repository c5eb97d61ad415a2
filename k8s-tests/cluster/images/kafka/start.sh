#!/bin/sh
# Formats the data folder when it is new, then becomes the broker. The environment may set:
#   KAFKA_CONFIG          the properties file; @ADDRESS@ in it is replaced (default /etc/kafka/server.properties)
#   KAFKA_ADDRESS         host name or address told to clients (default: the pod's address)
#   KAFKA_FORMAT_ARGS     more arguments for formatting, like --add-scram SCRAM-SHA-512=[name=admin,password=secret]
#   KAFKA_HEAP            the heap's size (default 512m)
set -euf
config=/tmp/server.properties
sed "s/@ADDRESS@/${KAFKA_ADDRESS:-$(hostname -i)}/g" "${KAFKA_CONFIG:-/etc/kafka/server.properties}" > "$config"
java() {
  /opt/java/bin/java -cp '/opt/kafka/lib/*' -XX:-UsePerfData -XX:+ExitOnOutOfMemoryError "$@"
}
# shellcheck disable=SC2086  # the arguments are several words on purpose
java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn kafka.tools.StorageTool format --config "$config" --standalone \
  --cluster-id bWV0ZXJwaXBlLXRlc3RzMQ --ignore-formatted ${KAFKA_FORMAT_ARGS:-}
exec /opt/java/bin/java -cp '/opt/kafka/lib/*' -XX:-UsePerfData -XX:+ExitOnOutOfMemoryError \
  -Xms"${KAFKA_HEAP:-512m}" -Xmx"${KAFKA_HEAP:-512m}" -XX:+UseG1GC \
  -Dorg.slf4j.simpleLogger.defaultLogLevel=info -Dorg.slf4j.simpleLogger.showDateTime=true kafka.Kafka "$config"
