# user
	.4byte 0x1005b52f	# 0: lr.d a0,(a1)
	.4byte 0x18d5b62f	# 4: sc.d a2,a3,(a1)
