# user
	.2byte 0x862e	# 0: c.mv a2,a1
	.2byte 0x167d	# 2: c.addi a2,-1
	.2byte 0xfe7d	# 4: c.bnez a2,2
	.2byte 0x157d	# 6: c.addi a0,-1
	.2byte 0xfd65	# 8: c.bnez a0,0
	.2byte 0x8082	# a: c.jr ra
