# user
	.2byte 0x2108	# 0: c.fld fa0,0(a0)
	.2byte 0xa508	# 2: c.fsd fa0,8(a0)
