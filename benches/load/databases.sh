# Databases for a measurement: started in a directory of their own, on one core, and ended with it. Sourced.

# A TCP port that nobody listens on.
free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# Waits for a command to succeed.
wait_for() {
    local attempt
    for attempt in {1..400}; do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.05
    done
    echo "waited in vain for: $*" >&2
    exit 1
}

# Starts Redis on a core, without persistence; sets $redis_url, $redis_port and $redis_core.
start_redis() {
    redis_core=$2 redis_port=$(free_port)
    redis_url=redis://127.0.0.1:$redis_port
    taskset -c "$redis_core" redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no \
        --dir "$1" >"$1/redis.log" 2>&1 </dev/null &
    redis_pid=$!
    disown "$redis_pid"
    wait_for redis-cli -p "$redis_port" ping
}

# What runs a command as somebody who may run Postgres, which refuses root.
as_postgres=()
[[ $(id -u) != 0 ]] || as_postgres=(setpriv --reuid postgres --regid postgres --clear-groups --)

# Starts Postgres on a core, as it comes: every commit is on the disk before it is answered. Sets
# $postgres_url, $postgres_port, $postgres_bin and $postgres_core.
start_postgres() {
    local data=$1/postgres
    postgres_data=$1
    postgres_core=$2 postgres_port=$(free_port)
    local found=(/usr/lib/postgresql/*/bin)
    postgres_bin=${found[-1]}
    postgres_url=postgres://postgres@127.0.0.1:$postgres_port/postgres
    chmod 755 "$1"
    mkdir "$data"
    [[ $(id -u) != 0 ]] || chown postgres: "$data"
    "${as_postgres[@]}" "$postgres_bin/initdb" --pgdata "$data" --username postgres --auth trust >/dev/null
    "${as_postgres[@]}" taskset -c "$postgres_core" "$postgres_bin/postgres" -D "$data" -h 127.0.0.1 -p "$postgres_port" \
        -k "$data" >"$1/postgres.log" 2>&1 </dev/null &
    postgres_pid=$!
    disown "$postgres_pid"
    wait_for "$postgres_bin/pg_isready" -h 127.0.0.1 -p "$postgres_port"
}

stop_databases() {
    [[ -z ${redis_pid:-} ]] || kill -9 "$redis_pid" 2>/dev/null || true
    # It has children; told to stop at once, it ends them.
    [[ -z ${postgres_pid:-} ]] || kill -INT "$postgres_pid" 2>/dev/null || true
    [[ -z ${postgres_pid:-} ]] || while kill -0 "$postgres_pid" 2>/dev/null; do sleep 0.05; done
}

# What Redis itself carries: the script for one charge, as often as redis-benchmark gets it answered, with 4
# connections of 32 calls each like the generator's. Prints thousands a second.
ceiling_of_redis() {
    local keys=$1 work script sha
    # A settlement of one key and one charge: 1 hit on a token bucket of 500,000,000 an hour;
    # src/store/redis/work.rs has the layout. redis-benchmark cannot send such bytes, so they stand in the
    # script.
    work='\0\0\0\0\0\0\1\0\1' # the head
    work+='\0\0\0\1\0\0\29\205\101\0\0\0\29\205\101\0\0\0\0\54\238\128\0\0\0\0\0\0\0\1'
    script="ARGV[2] = '$work' $(cat src/store/redis/algorithm.lua src/store/redis/settle.lua)"
    sha=$(redis-cli -p "$redis_port" script load "$script")
    taskset -c 0 redis-benchmark -p "$redis_port" -c 4 -P 32 -n 400000 -r "$keys" --csv \
        EVALSHA "$sha" 1 ceiling:__rand_int__ "" | awk -F'"' 'END { printf "%.1f\n", $4 / 1000 }'
}

# What Postgres carries if each request is a transaction of its own: the statements of a batch for one key, by
# pgbench on 64 connections. Prints thousands a second.
ceiling_of_postgres() {
    local keys=$1
    psql -q "$postgres_url" <<SQL
SET client_min_messages = warning;
DROP TABLE IF EXISTS ceiling;
CREATE TABLE ceiling (LIKE fluxlimit INCLUDING ALL);
INSERT INTO ceiling (key, state, expires_at_ms)
    SELECT decode(md5(n::text), 'hex'), '\x0102030405060708090a0b0c0d0e0f1011', 1 FROM generate_series(1, $keys) AS n;
VACUUM ANALYZE ceiling;
SQL
    cat >"$postgres_data/ceiling.sql" <<SQL
\set k random(1, $keys)
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT key, state FROM ceiling WHERE key = ANY(ARRAY[decode(md5(:k::text), 'hex')]) ORDER BY key FOR NO KEY UPDATE;
SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;
UPDATE ceiling SET state = '\x0102030405060708090a0b0c0d0e0f1012' WHERE key = decode(md5(:k::text), 'hex');
COMMIT;
SQL
    taskset -c 0 "$postgres_bin/pgbench" -n -c 64 -T 5 -f "$postgres_data/ceiling.sql" "$postgres_url" 2>/dev/null |
        awk '/^tps/ { printf "%.1f\n", $3 / 1000 }'
}
