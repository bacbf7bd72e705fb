# Compression: hash chains, unpredictable branches, byte accesses.
prepare() { . ./data.sh; }
work() { for level in 1 6 9; do gzip -$level -c data.txt | md5sum; done; gzip -c data.txt | gunzip -c | md5sum; }
