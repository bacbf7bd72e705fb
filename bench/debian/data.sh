# Makes data.txt, 4 MB of text that compresses as source code does, and big.txt, 32 MB.
[ -f data.txt ] || {
  seq 1 1500 | sed 's/.*/static int field_& = & * 17; \/* of record & *\//' >part.txt
  for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    sed "s/field/field_$i/; s/17/$((i * 911))/" part.txt
    sha256sum part.txt | cut -c "$i-"
  done | cat - part.txt part.txt part.txt >data.txt
  for i in 1 2 3 4 5 6 7 8 9 10; do cat data.txt; done >big.txt
}
