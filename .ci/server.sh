# What .ci/run asks of a real `singletrack serve` process, with nothing but bash. Sourced.

# Starts a server on a free port; sets `server` (its process) and `port`.
start_server() {
    "$bin" serve --listen 127.0.0.1:0 "$@" >"$scratch/stdout" 2>"$scratch/stderr" &
    server=$!
    local end=$((SECONDS + 20))
    until port=$(sed -n 's|^listening on http://127\.0\.0\.1:\([0-9]*\)$|\1|p' "$scratch/stdout") && [ -n "$port" ]; do
        kill -0 "$server" 2>/dev/null || { cat "$scratch/stderr" >&2; fail "the server ended before it was ready"; }
        [ "$SECONDS" -lt "$end" ] || fail "the server did not say where it listens: $(cat "$scratch/stdout")"
        sleep 0.05
    done
}

# Asks it to end, and sees it do so.
stop_server() {
    kill -TERM "$server"
    server_ends
}

# After SIGTERM it ends in time, with exit code 0, and has said nothing else on stdout.
server_ends() {
    local end=$((SECONDS + 20)) code=0
    while kill -0 "$server" 2>/dev/null && [ "$SECONDS" -lt "$end" ]; do sleep 0.05; done
    kill -0 "$server" 2>/dev/null && fail "the server still runs 20 s after SIGTERM"
    wait "$server" || code=$?
    server=""
    [ "$code" = 0 ] || { cat "$scratch/stderr" >&2; fail "the server ended with code $code after SIGTERM"; }
    [ "$(wc -l <"$scratch/stdout")" = 1 ] || fail "the server printed more than one line: $(cat "$scratch/stdout")"
}

# expect WHAT WANTED GOT
expect() {
    [ "$2" = "$3" ] || fail "$1: wanted '$2', got '$3'"
    echo "$1: $2"
}

# upgrade PATH FD: a WebSocket handshake with the key of RFC 6455, section 1.3.
upgrade() {
    printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n' "$1" >&"$2"
    local line status accept=""
    IFS= read -r -t 10 status <&"$2" || fail "$1: no answer to the handshake"
    while IFS= read -r -t 10 line <&"$2" && [ "$line" != $'\r' ]; do
        case ${line,,} in sec-websocket-accept:*) accept=${line#*: } ;; esac
    done
    expect "$1 answers" "HTTP/1.1 101" "${status:0:12}"
    expect "$1 accepts" "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" "${accept%$'\r'}"
}

# receive COUNT FD: so many bytes, in hexadecimal.
receive() {
    timeout 10 head -c "$1" <&"$2" | od -An -tx1 | tr -d ' \n'
}

get() {
    exec 5<>"/dev/tcp/127.0.0.1/$port"
    printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' "$1" >&5
    timeout 10 cat <&5 >"$scratch/answer" || fail "GET $1 did not end within 10 s"
    exec 5>&-
    head -n 1 "$scratch/answer" | cut -c 1-12
}

real_client() {
    start_server
    expect "GET /healthz" "HTTP/1.1 200" "$(get /healthz)"
    expect "GET /" "HTTP/1.1 200" "$(get /)"
    grep -qi '<!doctype html>' "$scratch/answer" || fail "GET / is no page"
    expect "GET /nothing" "HTTP/1.1 404" "$(get /nothing)"
    # The masked "Hello" of RFC 6455, section 5.7, and what must come back: the same, unmasked.
    local hello='\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58' back=810548656c6c6f
    exec 3<>"/dev/tcp/127.0.0.1/$port" 4<>"/dev/tcp/127.0.0.1/$port"
    upgrade /echo 3
    printf "$hello" >&3
    expect "/echo says" $back "$(receive 7 3)"
    printf '\x88\x82\x00\x00\x00\x00\x03\xe8' >&3
    expect "/echo closes with 1000" 880203e8 "$(receive 4 3)"
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    upgrade /room/ci 3
    upgrade /room/ci 4
    printf "$hello" >&3
    expect "the sender hears itself" $back "$(receive 7 3)"
    expect "the other member hears it" $back "$(receive 7 4)"
    # A drain closes with 1001, "going away", and waits for the members to say good-bye.
    kill -TERM "$server"
    local fd
    for fd in 3 4; do
        expect "a member hears that the server goes" 03e9 "$(receive 4 $fd | cut -c 5-8)"
        printf '\x88\x82\x00\x00\x00\x00\x03\xe9' >&$fd
    done
    server_ends
    exec 3>&- 4>&-
}

switches() {
    cat /proc/"$server"/task/*/status | awk '/ctxt_switches/ { n += $2 } END { print n }'
}

idle_server_sleeps() {
    start_server
    expect "GET /healthz" "HTTP/1.1 200" "$(get /healthz)"
    sleep 2
    local before after
    before=$(switches)
    sleep 10
    after=$(switches)
    echo "$(find /proc/"$server"/task -mindepth 1 -maxdepth 1 | wc -l) threads made $((after - before)) context switches in 10 s"
    [ $((after - before)) -le 4 ] || fail "an idle server must not wake up"
    stop_server
}

# A figure of the report that `load --json` printed.
figure() {
    sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" "$scratch/load.json"
}

# 10,000 connections in 1,000 rooms, every message verified in order, while one member per room reads nothing: none of these is
# lost, the silent ones are given up or get what they missed, and neither memory nor threads grow with them.
crowd() {
    local rooms=1000 readers=9 outbox=16384 code=0
    # Without huge pages, which are resident whole: so what the server holds for an idle connection can be told.
    MIMALLOC_ALLOW_THP=0 start_server --outbox-bytes $outbox --send-buffer $outbox
    timeout 300 "$bin" load "ws://127.0.0.1:$port" --rooms $rooms --members $((readers + 1)) --senders 1 --slow 1 \
        --bytes 512 --messages "$1" --patience 30 --pid "$server" --json >"$scratch/load.json" 2>"$scratch/load.err" || code=$?
    cat "$scratch/load.json"
    [ "$code" = 0 ] || { cat "$scratch/load.err" >&2; fail "the crowd was not served as promised: load ended with code $code"; }
    expect "deliveries" $((rooms * readers * $1)) "$(figure deliveries)"
    # 599 with 10,000 of them when this was written; each thread has 256 KiB of its own, by which more cores cost more.
    local each most_each=$((600 + $(figure threads_peak) * 262144 / (rooms * (readers + 1))))
    each=$(figure bytes_per_connection)
    [ "$each" -le "$most_each" ] || fail "$each bytes for each idle connection, more than $most_each"
    # A silent member's share: its outbox, and as much again for what is on its way.
    local more=$(($(figure rss_peak_kib) - $(figure rss_connected_kib))) most=$((rooms * 2 * outbox / 1024))
    [ "$more" -le "$most" ] || fail "$more KiB for $rooms silent members, more than twice their outboxes: $most KiB"
    # The workers, the monitor, the main thread, and a few replacement threads: on a busy machine a worker that has no processor for long
    # looks stuck. Far fewer than rooms or connections in any case.
    local threads most_threads=$(($(nproc) + 16))
    threads=$(figure threads_peak)
    [ "$threads" -le "$most_threads" ] || fail "$threads threads, more than $most_threads"
    # What they did not read is more than all buffers on the way hold, so the bounds were put to the test.
    expect "silent members given up" $rooms $(($(figure closed) + $(figure reset)))
    stop_server
}

# The Autobahn suite is no part of this repository: AUTOBAHN names a script that takes the address of an echo socket
# and ends with code 1 when a case failed.
conformance() {
    local suite=${AUTOBAHN:-../shared/tools/autobahn/run.sh}
    if [ ! -e "$suite" ]; then
        skip "no conformance suite at $suite: set AUTOBAHN to one"
        return
    fi
    # The suite sends messages of 16 MiB, beyond the default limits.
    start_server --message-bytes $((16 << 20)) --outbox-bytes $((32 << 20))
    OUT=$scratch/autobahn timeout 600 sh "$suite" "ws://127.0.0.1:$port/echo" >"$scratch/suite.log" 2>&1 \
        || { tail -n 40 "$scratch/suite.log" >&2; fail "a conformance case failed, or the suite took more than 10 minutes"; }
    tail -n 5 "$scratch/suite.log"
    stop_server
}
