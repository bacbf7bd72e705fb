# user
	.4byte 0x00558513	# 0: addi a0,a1,5
