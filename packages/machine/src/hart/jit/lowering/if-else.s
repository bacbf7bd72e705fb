# user
	.2byte 0xc119	# 0: c.beqz a0,6
	.2byte 0x0585	# 2: c.addi a1,1
	.2byte 0xa011	# 4: c.j 8
	.2byte 0x0589	# 6: c.addi a1,2
	.4byte 0x00b58633	# 8: add a2,a1,a1
	.2byte 0x8082	# c: c.jr ra
