# user
	.4byte 0x02c5f553	# 0: fadd.d fa0,fa1,fa2
