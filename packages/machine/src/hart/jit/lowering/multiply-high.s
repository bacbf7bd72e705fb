# user
	.4byte 0x02c5b533	# 0: mulhu a0,a1,a2
