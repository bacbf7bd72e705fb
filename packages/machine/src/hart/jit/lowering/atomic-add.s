# user
	.4byte 0x00b6252f	# 0: amoadd.w a0,a1,(a2)
