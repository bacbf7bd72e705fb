# user
	.2byte 0x0605	# 0: c.addi a2,1
	.2byte 0xe990	# 2: c.sd a2,16(a1)
