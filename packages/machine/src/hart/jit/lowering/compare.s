# user
	.4byte 0x00c5a533	# 0: slt a0,a1,a2
	.4byte 0x00173693	# 4: sltiu a3,a4,1
