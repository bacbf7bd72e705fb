# supervisor
	.2byte 0x4588	# 0: c.lw a0,8(a1)
