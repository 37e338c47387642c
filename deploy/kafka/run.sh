#!/usr/bin/env bash
# A real one-node Kafka in the foreground, without a container. Its jars are fetched once, by Maven.
#
#   run.sh [--port 9092] [--controller-port PORT+1] [--data DIR] [--config FILE] [--fetch]
#
# --config names more properties, which outrank ours: listeners with TLS, say. --fetch gets the jars and stops.
# KAFKA_HEAP_OPTS sets the JVM's memory. Data outlives the broker: a start on the same DIR goes on from it, also on
# other ports and after kill -9.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$here/../../.kafka
port=9092 controller_port='' data=$cache/data more='' fetch_only=''

fail() { echo "kafka: $1" >&2; exit "${2:-1}"; }

while (($#)); do
  case $1 in
    --fetch) fetch_only=1; shift; continue ;;
    --port | --controller-port | --data | --config) (($# > 1)) || fail "$1 needs a value" 2 ;;
    *) fail "unknown argument $1; usage: run.sh [--port N] [--controller-port N] [--data DIR] [--config FILE] [--fetch]" 2 ;;
  esac
  case $1 in
    --port) port=$2 ;;
    --controller-port) controller_port=$2 ;;
    --data) data=$2 ;;
    --config) more=$2 ;;
  esac
  shift 2
done
controller_port=${controller_port:-$((port + 1))}

command -v java >/dev/null || fail "java not found: install a Java runtime, 17 or newer (Debian: default-jre-headless)"

# One folder of jars for each version of pom.xml, moved into place whole: a broken download leaves nothing behind.
libs=$cache/libs-$(cksum <"$here/pom.xml" | cut -d' ' -f1)
if [[ ! -d $libs ]]; then
  command -v mvn >/dev/null || fail "mvn not found: install Maven to fetch the broker's jars (Debian: maven)"
  echo "kafka: fetching the broker's jars" >&2
  mkdir -p "$cache"
  new=$(mktemp -d "$cache/new.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  log=$(mvn --batch-mode --quiet --file "$here/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$new" 2>&1) ||
    { echo "$log" >&2; fail "Maven could not fetch the broker's jars"; }
  if [[ -d $libs ]]; then rm -rf "$new"; else mv "$new" "$libs"; fi  # another start may have been quicker
fi
[[ -z $fetch_only ]] || exit 0

for taken in "$port" "$controller_port"; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$taken") 2>/dev/null; then fail "port $taken is in use"; fi
done

[[ -z $more || -r $more ]] || fail "$more cannot be read" 2
mkdir -p "$data"
data=$(cd "$data" && pwd)
config=$data/server.properties
{
  cat "$here/server.properties"
  echo "listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port"
  echo "advertised.listeners=PLAINTEXT://127.0.0.1:$port"
  echo "controller.quorum.voters=1@127.0.0.1:$controller_port"
  echo "log.dirs=$data/log"
  [[ -z $more ]] || cat "$more"  # last: of a key that is there twice, Kafka takes the later one
} >"$config"

jvm=(java -cp "$libs/*" "-Dlog4j2.configurationFile=$here/log4j2.properties")
if [[ ! -f $data/log/meta.properties ]]; then
  # The id, any 16 bytes, keeps a broker from taking over another cluster's data; here the folder does that.
  "${jvm[@]}" kafka.tools.StorageTool format --cluster-id c2VsbGVycHVsc2UtbG9jYQ --config "$config" >/dev/null ||
    fail "could not format $data/log"
fi

# exec: the caller's signals, SIGTERM and SIGKILL alike, reach the JVM itself.
read -ra heap <<<"${KAFKA_HEAP_OPTS:--Xms256m -Xmx512m}"
exec "${jvm[@]}" "${heap[@]}" kafka.Kafka "$config"
