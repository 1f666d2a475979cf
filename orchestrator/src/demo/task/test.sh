# Checks roman.sh; fails if any numeral is wrong.
. ./roman.sh
failed=0
check() {
    got=$(roman "$1")
    if [ "$got" = "$2" ]; then
        echo "ok    $1 = $2"
    else
        echo "FAIL  $1 = $2, got $got"
        failed=1
    fi
}
check 3 III
check 4 IV
check 1994 MCMXCIV
exit $failed
