# Serves roman.sh until it is ended: reads a number from the pipe `ask`,
# writes its numeral to the pipe `answer`.
. ./roman.sh
mkfifo ask answer || exit 1
echo $$ >server.pid
echo ready
while read -r number <ask; do
    case $number in
        '' | *[!0-9]*) echo "not a number" >answer ;;
        *) roman "$number" >answer ;;
    esac
    echo "answered $number"
done
