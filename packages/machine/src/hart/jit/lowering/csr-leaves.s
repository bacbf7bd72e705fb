# user
	.2byte 0x0505	# 0: c.addi a0,1
	.4byte 0x003025f3	# 2: csrrs a1,fcsr,zero
