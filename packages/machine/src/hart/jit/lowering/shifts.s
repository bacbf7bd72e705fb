# user
	.4byte 0x00c59533	# 0: sll a0,a1,a2
	.4byte 0x4077569b	# 4: sraiw a3,a4,0x7
