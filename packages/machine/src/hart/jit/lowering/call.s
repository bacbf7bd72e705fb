# user
	.4byte 0x000010ef	# 0: jal ra,1000
	.2byte 0x9522	# 4: c.add a0,s0
	.2byte 0x8082	# 6: c.jr ra
