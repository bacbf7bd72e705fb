# user
	.4byte 0x20c5a533	# 0: sh1add a0,a1,a2
	.4byte 0x0af776b3	# 4: maxu a3,a4,a5
	.4byte 0x28589833	# 8: bset a6,a7,t0
