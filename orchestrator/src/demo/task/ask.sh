# Asks the running server: `sh ask.sh 9` prints IX.
if ! kill -0 "$(cat server.pid 2>/dev/null)" 2>/dev/null; then
    echo "the server is not running here" >&2
    exit 1
fi
echo "$1" >ask
cat answer
