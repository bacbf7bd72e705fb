# user
	.4byte 0x12345537	# 0: lui a0,0x12345
	.4byte 0x00001597	# 4: auipc a1,0x1
