# supervisor
	.4byte 0x00c58023	# 0: sb a2,0(a1)
