# MD5: one chain of dependent 32-bit operations.
prepare() { . ./data.sh; }
work() { md5sum big.txt big.txt big.txt big.txt big.txt big.txt; }
