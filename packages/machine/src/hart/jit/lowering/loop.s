# user
	.2byte 0x157d	# 0: c.addi a0,-1
	.2byte 0x95aa	# 2: c.add a1,a0
	.2byte 0xfd75	# 4: c.bnez a0,0
	.2byte 0x8082	# 6: c.jr ra
