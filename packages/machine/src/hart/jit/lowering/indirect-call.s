# user
	.4byte 0x000780e7	# 0: jalr ra,0(a5)
	.2byte 0x9522	# 4: c.add a0,s0
