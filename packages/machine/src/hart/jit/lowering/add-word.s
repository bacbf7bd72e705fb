# user
	.4byte 0x00c5853b	# 0: addw a0,a1,a2
