# Roman numerals: `roman 9` prints IX.
roman() {
    n=$1 numeral=
    for pair in 1000:M 500:D 100:C 50:L 10:X 5:V 1:I; do
        while [ "$n" -ge "${pair%%:*}" ]; do
            numeral=$numeral${pair##*:}
            n=$((n - ${pair%%:*}))
        done
    done
    echo "$numeral"
}
