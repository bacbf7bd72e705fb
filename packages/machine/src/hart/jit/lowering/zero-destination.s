# user
	.4byte 0x00c58033	# 0: add zero,a1,a2
	.4byte 0x0005a003	# 4: lw zero,0(a1)
