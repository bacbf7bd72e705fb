# user
# 0 jumps to 2 x 5, 6 x 1, a x 3, 1000 x 1
	.2byte 0x8782	# 0: c.jr a5
	.2byte 0x0585	# 2: c.addi a1,1
	.2byte 0xbff5	# 4: c.j 0
	.2byte 0x0589	# 6: c.addi a1,2
	.2byte 0x8082	# 8: c.jr ra
	.2byte 0x9522	# a: c.add a0,s0
	.2byte 0x8082	# c: c.jr ra
